"""Ad spend: what campaigns cost by day, as advertising platforms export it or as a sheet holds it."""

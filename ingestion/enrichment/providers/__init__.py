"""Providers of firmographics, one module each; `ingestion.enrichment.catalog` finds them by name."""

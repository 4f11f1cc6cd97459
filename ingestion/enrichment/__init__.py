"""What others know of a company: providers of firmographics, asked aside, and their answers kept as data."""

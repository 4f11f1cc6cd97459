"""What a user would write instead of this project: the same job in pandas and in polars."""

"""Matching of records that share no identifier: how they are compared, what the comparisons weigh, and which links hold."""

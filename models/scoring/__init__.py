"""Lead models: how likely a lead is to be taken up by sales, learned from what became of earlier ones."""

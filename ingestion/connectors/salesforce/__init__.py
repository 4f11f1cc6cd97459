"""The Salesforce-shaped CRM: what it says to us and what we write to it."""

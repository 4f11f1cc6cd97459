"""A simulated company behind real HTTP: MAP, CRM and calendar from one seed; never imported by
connectors."""

"""What the machine says: variables, entry points, credentials, proxies."""

"""Plans over the network: the server and the requests that it understands."""

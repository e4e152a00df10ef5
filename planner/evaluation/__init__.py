"""How often planning succeeds: episodes, suites, statistics and pictures."""

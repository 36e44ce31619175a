"""`/console`: what operators see of a site in a browser, and what they may do there."""

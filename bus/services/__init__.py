"""Call and serve: services are found by subject, chosen by their load, and protected from too much of it."""

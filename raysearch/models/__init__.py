"""The methods: torch alone, pure functions and modules that can be lifted out and used by themselves."""

"""The commands of `bench`, one module each, loaded when called."""

"""One module per command of the CLI. Only these (and the sandbox) put the parts together."""

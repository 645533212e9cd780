"""What `mediad` does on the command line, a module each."""

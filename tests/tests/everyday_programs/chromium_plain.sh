sandbox=--no-sandbox

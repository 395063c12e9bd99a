"""Steps of a plan, one file each: thin glue from what the configuration says to the modules below."""

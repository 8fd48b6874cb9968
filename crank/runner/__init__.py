# What crank/'s commands are made of: configuration as crank resolves it, servers, rounds, results, tables, plots.

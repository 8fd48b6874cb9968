# What run-local is made of: configuration as crank resolves it, servers, rounds, results, plots.

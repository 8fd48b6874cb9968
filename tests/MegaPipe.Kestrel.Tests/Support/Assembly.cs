// How this assembly runs: one test at a time, because tests count fds, leases and log entries of the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

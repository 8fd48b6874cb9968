// One test at a time: each compares the process's file descriptors before and after.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

// The contract suites in a process in which io_uring is really denied: the fallback's column of the matrix once more.
using System.Collections.Concurrent;
using System.Globalization;
using System.Reflection;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace MegaPipe.Kestrel.Tests.Configuration;

internal static class DeniedSuite
{
    public const string Command = "denied-suite";

    /// <summary>The tests of the column, without the slow ones: what they add, stock's own column shows.</summary>
    public static List<ITestCase> Discover()
    {
        using XunitTestFramework framework = new(new Xunit.Sdk.NullMessageSink());
        using ITestFrameworkDiscoverer discoverer =
            framework.GetDiscoverer(Reflector.Wrap(Assembly.GetExecutingAssembly()));
        using Sink sink = new();
        discoverer.Find(includeSourceInformation: false, sink, new NoOptions());
        sink.WaitForEnd();
        return [.. sink.Cases.Where(test => Has(test, "Transport", nameof(TransportKind.MegaPipeFallback)) &&
            !Has(test, "Speed", "Slow"))];
    }

    /// <summary>The child: errno. Ready at once; then a line per failure and "PASSED n of n".</summary>
    public static int Run(string[] arguments)
    {
        SeccompFilter.Refuse(
            SeccompFilter.IoUringSetup, int.Parse(arguments[0], CultureInfo.InvariantCulture));
        Console.WriteLine($"{ChildProcess.Ready}{MegaPipeFeatures.Reason}");
        List<ITestCase> cases = Discover();
        using XunitTestFramework framework = new(new Xunit.Sdk.NullMessageSink());
        using ITestFrameworkExecutor executor = framework.GetExecutor(Assembly.GetExecutingAssembly().GetName());
        using Sink sink = new();
        executor.RunTests(cases, sink, new NoOptions());
        sink.WaitForEnd();
        Console.WriteLine($"{sink.Passed} passed, {sink.Failures.Count} failed");
        foreach (string failure in sink.Failures)
        {
            Console.WriteLine(failure);
        }

        return 0;
    }

    private static bool Has(ITestCase test, string name, string value) =>
        test.Traits.TryGetValue(name, out List<string>? values) && values.Contains(value);

    private sealed class Sink : LongLivedMarshalByRefObject, IMessageSink, IDisposable
    {
        private readonly ManualResetEventSlim _ended = new();
        private int _passed;

        public ConcurrentQueue<ITestCase> Cases { get; } = new();

        public ConcurrentQueue<string> Failures { get; } = new();

        public int Passed => _passed;

        public bool OnMessage(IMessageSinkMessage message)
        {
            switch (message)
            {
                case ITestCaseDiscoveryMessage found:
                    Cases.Enqueue(found.TestCase);
                    break;
                case ITestPassed:
                    Interlocked.Increment(ref _passed);
                    break;
                case ITestFailed failed:
                    Failures.Enqueue($"{failed.Test.DisplayName}: {string.Join(" ", failed.Messages)}");
                    break;
                case IErrorMessage error:
                    Failures.Enqueue(string.Join(" ", error.Messages));
                    break;
                case IDiscoveryCompleteMessage or ITestAssemblyFinished:
                    _ended.Set();
                    break;
            }

            return true;
        }

        public void WaitForEnd() => _ended.Wait();

        public void Dispose() => _ended.Dispose();
    }

    private sealed class NoOptions : ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
    {
        public TValue GetValue<TValue>(string name) => default!;

        public void SetValue<TValue>(string name, TValue value)
        {
        }
    }
}

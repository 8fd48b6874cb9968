// A thread of a test: joined at the end of its scope, its failure thrown there.
using System.Runtime.ExceptionServices;

namespace MegaPipe.Native.Tests.Support;

internal sealed class ThreadGuard : IDisposable
{
    private readonly Thread _thread;
    private Exception? _failure;

    public ThreadGuard(Action body)
    {
        _thread = new Thread(() =>
        {
            try
            {
                body();
            }
            catch (Exception failure)
            {
                _failure = failure;
            }
        })
        { IsBackground = true };
        _thread.Start();
    }

    public void Dispose()
    {
        Assert.True(_thread.Join(ChannelHarness.Patience), "the thread did not end");
        if (_failure is not null)
        {
            ExceptionDispatchInfo.Throw(_failure);
        }
    }
}

// When reading pauses, resumes and ends: the type alone, without a connection.
using MegaPipe.Kestrel.Internal.Pipes;

namespace MegaPipe.Kestrel.Tests.Pipes;

[Trait("Area", "BackPressure")]
public sealed class BackPressureTests
{
    private const long Limit = 100;

    [Theory]
    [InlineData(0, false)]
    [InlineData(Limit - 1, false)]
    [InlineData(Limit, true)]
    [InlineData(Limit + 1, true)]
    public void TryPause_Flowing_PausesFromTheLimitOn(long unread, bool pauses)
    {
        BackPressure pressure = Flowing();
        Assert.Equal(pauses, pressure.TryPause(unread));
        Assert.Equal(pauses ? ReadFlow.Pausing : ReadFlow.Flowing, pressure.Flow);
    }

    [Theory]
    [InlineData(Limit, Limit / 2, false)]
    [InlineData(Limit, (Limit / 2) - 1, true)]
    [InlineData(1, 0, true)]
    [InlineData(1, 1, false)]
    public void ShouldResume_Paused_BelowHalfOfTheLimit(long limit, long unread, bool resumes)
    {
        BackPressure pressure = Flowing(limit);
        Assert.True(pressure.TryPause(limit));
        Assert.Equal(resumes, pressure.ShouldResume(unread));
        pressure.Stop(atEnd: false);
        Assert.Equal(resumes, pressure.ShouldResume(unread));
    }

    [Fact]
    public void TryPause_NoLimit_Never()
    {
        BackPressure pressure = Flowing(long.MaxValue);
        Assert.False(pressure.TryPause(long.MaxValue - 1));
    }

    [Theory]
    [InlineData(nameof(ReadFlow.Idle))]
    [InlineData(nameof(ReadFlow.Pausing))]
    [InlineData(nameof(ReadFlow.Resuming))]
    [InlineData(nameof(ReadFlow.Paused))]
    [InlineData(nameof(ReadFlow.PausedAtEnd))]
    [InlineData(nameof(ReadFlow.Closing))]
    [InlineData(nameof(ReadFlow.Ended))]
    public void TryPause_NotFlowing_StaysAsItIs(string flow)
    {
        BackPressure pressure = In(flow);
        Assert.False(pressure.TryPause(Limit));
        Assert.Equal(flow, pressure.Flow.ToString());
    }

    /// <summary>What is left to do is in the state: arm, tell the end, or wait for the last event.</summary>
    [Theory]
    [InlineData(nameof(ReadFlow.Pausing), true, nameof(ReadFlow.Resuming))]
    [InlineData(nameof(ReadFlow.Paused), true, nameof(ReadFlow.Idle))]
    [InlineData(nameof(ReadFlow.PausedAtEnd), true, nameof(ReadFlow.PausedAtEnd))]
    [InlineData(nameof(ReadFlow.Idle), false, nameof(ReadFlow.Idle))]
    [InlineData(nameof(ReadFlow.Flowing), false, nameof(ReadFlow.Flowing))]
    [InlineData(nameof(ReadFlow.Resuming), false, nameof(ReadFlow.Resuming))]
    [InlineData(nameof(ReadFlow.Closing), false, nameof(ReadFlow.Closing))]
    [InlineData(nameof(ReadFlow.Ended), false, nameof(ReadFlow.Ended))]
    public void TryResume_InEachState_EndsAPauseOnly(string flow, bool resumes, string then)
    {
        BackPressure pressure = In(flow);
        Assert.Equal(resumes, pressure.ShouldResume(0));
        Assert.Equal(resumes, pressure.TryResume());
        Assert.Equal(then, pressure.Flow.ToString());
    }

    [Theory]
    [InlineData(nameof(ReadFlow.Pausing), false, nameof(ReadFlow.Paused))]
    [InlineData(nameof(ReadFlow.Pausing), true, nameof(ReadFlow.PausedAtEnd))]
    [InlineData(nameof(ReadFlow.Resuming), false, nameof(ReadFlow.Idle))]
    [InlineData(nameof(ReadFlow.Resuming), true, nameof(ReadFlow.Resuming))]
    [InlineData(nameof(ReadFlow.Flowing), false, nameof(ReadFlow.Flowing))]
    [InlineData(nameof(ReadFlow.Flowing), true, nameof(ReadFlow.Flowing))]
    [InlineData(nameof(ReadFlow.Closing), false, nameof(ReadFlow.Closing))]
    [InlineData(nameof(ReadFlow.Closing), true, nameof(ReadFlow.Closing))]
    [InlineData(nameof(ReadFlow.Ended), true, nameof(ReadFlow.Ended))]
    public void Stop_InEachState_KeepsTheEndBehindAPause(string flow, bool atEnd, string then)
    {
        BackPressure pressure = In(flow);
        Assert.Equal(then, pressure.Stop(atEnd).ToString());
        Assert.Equal(then, pressure.Flow.ToString());
    }

    [Theory]
    [InlineData(nameof(ReadFlow.Flowing))]
    [InlineData(nameof(ReadFlow.Pausing))]
    [InlineData(nameof(ReadFlow.Paused))]
    [InlineData(nameof(ReadFlow.PausedAtEnd))]
    public void Close_FlowingOrPaused_NothingIsResumedAnyMore(string flow)
    {
        BackPressure pressure = In(flow);
        pressure.Close();
        Assert.Equal(ReadFlow.Closing, pressure.Flow);
        Assert.False(pressure.ShouldResume(0));
        Assert.True(pressure.TryEnd());
    }

    [Fact]
    public void Close_Ended_StaysEnded()
    {
        BackPressure pressure = In(nameof(ReadFlow.Ended));
        pressure.Close();
        Assert.Equal(ReadFlow.Ended, pressure.Flow);
    }

    [Fact]
    public void TryEnd_Twice_TheFirstOnly()
    {
        BackPressure pressure = Flowing();
        Assert.True(pressure.TryEnd());
        Assert.False(pressure.TryEnd());
        Assert.Equal(ReadFlow.Ended, pressure.Flow);
    }

    private static BackPressure Flowing(long limit = Limit)
    {
        BackPressure pressure = new(limit);
        Assert.Equal(ReadFlow.Idle, pressure.Flow);
        pressure.Start();
        return pressure;
    }

    /// <summary>By the way that a connection takes there.</summary>
    private static BackPressure In(string name)
    {
        ReadFlow flow = Enum.Parse<ReadFlow>(name);
        BackPressure pressure = Flowing();
        switch (flow)
        {
            case ReadFlow.Idle:
                return new BackPressure(Limit);
            case ReadFlow.Closing:
                pressure.Close();
                break;
            case ReadFlow.Ended:
                pressure.TryEnd();
                break;
            case ReadFlow.Flowing:
                break;
            default:
                pressure.TryPause(Limit);
                _ = flow switch
                {
                    ReadFlow.Resuming => pressure.TryResume() ? ReadFlow.Resuming : default,
                    ReadFlow.Paused => pressure.Stop(atEnd: false),
                    ReadFlow.PausedAtEnd => pressure.Stop(atEnd: true),
                    _ => flow,
                };
                break;
        }

        Assert.Equal(flow, pressure.Flow);
        return pressure;
    }
}

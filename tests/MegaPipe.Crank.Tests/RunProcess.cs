// A child process with its output; ended by its own id, whatever the test does.
using System.Diagnostics;
using System.Text;

namespace MegaPipe.Crank.Tests;

internal sealed class RunProcess : IDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly string _readyText;
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private RunProcess(Process process, string readyText)
    {
        _process = process;
        _readyText = readyText;
        process.OutputDataReceived += (_, line) => Add(line.Data);
        process.ErrorDataReceived += (_, line) => Add(line.Data);
        process.Exited += (_, _) => _ready.TrySetResult();
    }

    public int Id => _process.Id;

    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    public static RunProcess Start(string executable, string arguments, string folder, string readyText = "")
    {
        Process process = new()
        {
            StartInfo = new ProcessStartInfo(executable, arguments)
            {
                WorkingDirectory = folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
            EnableRaisingEvents = true,
        };
        RunProcess run = new(process, readyText);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return run;
    }

    public async Task WaitUntilReadyAsync(TimeSpan limit)
    {
        await _ready.Task.WaitAsync(limit);
        Assert.True(Output.Contains(_readyText, StringComparison.Ordinal), Output);
    }

    public async Task<int> WaitForExitAsync(TimeSpan limit)
    {
        using CancellationTokenSource timeout = new(limit);
        await _process.WaitForExitAsync(timeout.Token);
        return _process.ExitCode;
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    private void Add(string? line)
    {
        if (line is null)
        {
            return;
        }

        lock (_output)
        {
            _output.AppendLine(line);
        }

        if (_readyText.Length > 0 && line.Contains(_readyText, StringComparison.Ordinal))
        {
            _ready.TrySetResult();
        }
    }
}

// What the groups of a process leave it of threads. tests/containers/threads shows what happens without it.
using System.Globalization;
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class ThreadRoomTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("mp-groups-").FullName;

    public void Dispose() => Directory.Delete(_root, true);

    [Theory]
    [InlineData("0::/\n", ".", "64", 64 - 20)]
    [InlineData("0::/a/b\n", "a/b", "64", 64 - 20)]
    [InlineData("0::/a/b\n", "a", "64", 64 - 20)] // that of a group above holds, too
    [InlineData("0::/a/b\n", "a", "max", int.MaxValue)]
    [InlineData("8:pids:/a\n0::/\n", "pids/a", "30", 30 - 20)]
    [InlineData("8:cpu:/a\n", "cpu/a", "64", int.MaxValue)] // not of this controller
    [InlineData("nonsense\n", ".", "64", int.MaxValue)]
    public void Left_LimitOfAGroup_LessWhatIsUsedAndTheRuntimes(
        string membership, string folder, string most, int expected)
    {
        string[] folders = Groups(membership, folder, most, used: 20);
        int left = ThreadRoom.Left(folders, promised: 0);
        Assert.Equal(expected == int.MaxValue ? expected : expected - ThreadRoom.Reserve, left);
        Assert.Equal(expected == int.MaxValue ? expected : left - 5, ThreadRoom.Left(folders, promised: 5));
    }

    [Fact]
    public void Left_LimitIsLoweredAndLifted_FollowsAndMayBeBelowZero()
    {
        string[] folders = Groups("0::/\n", ".", "1000", used: 400);
        Assert.Equal(600 - ThreadRoom.Reserve, ThreadRoom.Left(folders, 0));
        Write(".", "pids.max", "100");
        Assert.Equal(-300 - ThreadRoom.Reserve, ThreadRoom.Left(folders, 0));
        Write(".", "pids.max", "max");
        Assert.Equal(int.MaxValue, ThreadRoom.Left(folders, 0));
    }

    private string[] Groups(string membership, string folder, string most, int used)
    {
        Write(folder, "pids.max", most);
        Write(folder, "pids.current", used.ToString(CultureInfo.InvariantCulture));
        Write(".", "membership", membership);
        return ThreadRoom.Limiting(_root, Path.Combine(_root, "membership"));
    }

    private void Write(string folder, string file, string text)
    {
        Directory.CreateDirectory(Path.Combine(_root, folder));
        File.WriteAllText(Path.Combine(_root, folder, file), text + "\n");
    }
}

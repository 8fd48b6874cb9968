/* Runs the managed tests of /suite whose properties match, by the test platform in /platform, on the runtime of
 * /dotnet. Run by tests/kernels/run in the booted kernel.
 *
 *   contract FILTER */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char filter[512];

	if (argc < 2)
		return 2;
	(void)snprintf(filter, sizeof filter, "--TestCaseFilter:%s", argv[1]);
	(void)setenv("HOME", "/tmp", 1);
	(void)setenv("PATH", "/dotnet", 1);
	(void)setenv("DOTNET_ROOT", "/dotnet", 1);
	(void)setenv("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1", 1);
	(void)setenv("DOTNET_CLI_TELEMETRY_OPTOUT", "1", 1);
	(void)setenv("VSTEST_CONNECTION_TIMEOUT", "600", 1); /* seconds; an emulated start takes a minute */
	if (chdir("/suite") == 0)
		execl("/dotnet/dotnet", "dotnet", "exec", "/platform/vstest.console.dll", "MegaPipe.Kestrel.Tests.dll",
		      filter, "--logger:console;verbosity=normal", NULL);
	perror("/dotnet/dotnet");
	return 1;
}

/* The first process of a booted kernel: prepares what the test programs need, runs each line of /programs, which is a
 * limit in seconds and a command, says how it ended, and turns the machine off. machine.py reads what it prints. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINE 512
#define MAX_ARGUMENTS 32
#define FDS 65536 /* ten thousand connections have twenty thousand ends */

static void mount_at(const char *type, const char *path)
{
	(void)mkdir(path, 0755);
	if (mount(type, path, type, 0, NULL))
		perror(path);
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		perror("lo");
	if (fd >= 0)
		close(fd);
}

/* The wait status of `line`, ended after `limit_s`. */
static int run(char *line, long limit_s)
{
	char *arguments[MAX_ARGUMENTS + 1];
	int count = 0, status = 0;
	pid_t child;

	for (char *word = strtok(line, " "); word && count < MAX_ARGUMENTS; word = strtok(NULL, " "))
		arguments[count++] = word;
	arguments[count] = NULL;
	child = fork();
	if (child == 0) {
		(void)setsid();
		execv(arguments[0], arguments);
		perror(arguments[0]);
		_exit(127);
	}
	for (time_t end = time(NULL) + limit_s; waitpid(child, &status, WNOHANG) == 0; usleep(20000)) {
		if (time(NULL) < end)
			continue;
		kill(-child, SIGKILL);
		waitpid(child, &status, 0);
		return -1;
	}
	return status;
}

int main(int argc, char **argv)
{
	const struct rlimit fds = { FDS, FDS };
	char line[MAX_LINE], name[MAX_LINE], *command;
	struct utsname kernel;
	FILE *programs;

	(void)argc;
	(void)argv;
	mount_at("proc", "/proc");
	mount_at("sysfs", "/sys");
	mount_at("devtmpfs", "/dev");
	mount_at("tmpfs", "/tmp");
	loopback_up();
	(void)setrlimit(RLIMIT_NOFILE, &fds);
	setvbuf(stdout, NULL, _IOLBF, 0);
	uname(&kernel);
	printf("\nguest: kernel %s\n", kernel.release);
	programs = fopen("/programs", "re");
	while (programs && fgets(line, sizeof line, programs)) {
		long limit_s = strtol(line, &command, 10);
		char limit[16];
		int status;

		command[strcspn(command, "\n")] = '\0';
		command += strspn(command, " ");
		memcpy(name, command, strlen(command) + 1);
		/* A test of a program may take as long as the program: native/tests/common_test.c. */
		(void)snprintf(limit, sizeof limit, "%ld", limit_s);
		(void)setenv("TEST_LIMIT_S", limit, 1);
		printf("guest: start %s\n", name);
		status = run(command, limit_s);
		if (status == -1)
			printf("guest: end timeout | %s\n", name);
		else if (WIFSIGNALED(status))
			printf("guest: end signal %d | %s\n", WTERMSIG(status), name);
		else
			printf("guest: end exit %d | %s\n", WEXITSTATUS(status), name);
	}
	printf("guest: done\n");
	fflush(stdout);
	sync();
	tcdrain(STDOUT_FILENO);
	(void)reboot(RB_AUTOBOOT); /* the emulator is told to end instead */
	return 1;
}

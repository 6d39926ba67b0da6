/* Loaded into whatever program obeys the variable that names it. Says, before that program's main, what the program is
 * and how it is confined: one line on standard output, which is kept whatever comes after. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* As an auditor (rtld-audit(7)) it is loaded before all others. */
unsigned la_version(unsigned version) { return version; }

static size_t append(char *line, size_t at, size_t size, const char *name, const char *value) {
    int length = snprintf(line + at, size - at, " %s=%s", name, value);
    return length < 0 || at + length >= size ? at : at + length;
}

static void field(const char *text, const char *name, char *value, size_t size) {
    const char *found = strstr(text, name);
    snprintf(value, size, "%s", found ? found + strlen(name) : "?");
    value[strcspn(value, "\t\n")] = 0;
}

__attribute__((constructor)) static void witness(void) {
    char line[4096] = "WITNESS", text[8192] = "", value[256];
    size_t at = strlen(line);

    ssize_t length = readlink("/proc/self/exe", value, sizeof value - 1);
    value[length < 0 ? 0 : length] = 0;
    at = append(line, at, sizeof line, "exe", value);

    int status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    length = read(status, text, sizeof text - 1);
    close(status);
    text[length < 0 ? 0 : length] = 0;
    const char *fields[] = {"Uid:\t", "Seccomp_filters:\t", "NoNewPrivs:\t", "CapEff:\t", "CapBnd:\t", "Umask:\t"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char name[32];
        field(text, fields[i], value, sizeof value);
        snprintf(name, sizeof name, "%.*s", (int)strlen(fields[i]) - 2, fields[i]);
        at = append(line, at, sizeof line, name, value);
    }

    const char *namespaces[] = {"user", "mnt", "net", "ipc", "uts"};
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", namespaces[i]);
        length = readlink(path, value, sizeof value - 1);
        value[length < 0 ? 0 : length] = 0;
        at = append(line, at, sizeof line, namespaces[i], value);
    }

    /* Those above standard error, but for the one that lists them. */
    size_t used = 0;
    value[0] = 0;
    DIR *open_files = opendir("/proc/self/fd");
    for (struct dirent *entry; open_files && (entry = readdir(open_files));) {
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(open_files))
            used += snprintf(value + used, sizeof value - used, "%s%s", used ? "," : "", entry->d_name);
    }
    if (open_files) closedir(open_files);
    at = append(line, at, sizeof line, "fds", value);

    const char *others = getenv("PRN_TEST_OTHERS");
    int file = open(others ? others : "/", O_WRONLY | O_CLOEXEC);
    at = append(line, at, sizeof line, "others", file < 0 ? strerrorname_np(errno) : "open");
    if (file >= 0) close(file);
    int raw = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    at = append(line, at, sizeof line, "inet", raw < 0 ? strerrorname_np(errno) : "open");
    if (raw >= 0) close(raw);
    at = append(line, at, sizeof line, "unshare", unshare(CLONE_NEWUSER) ? strerrorname_np(errno) : "done");

    line[at++] = '\n';
    if (write(1, line, at) < 0) _exit(99);
}

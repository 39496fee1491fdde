// A command that uses files: each line of its input is one act, and one line of its output tells what came of it.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

static void list(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) {
        printf("list: %s\n", strerror(errno));
        return;
    }
    char *names[4096];
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) && count < 4096;) {
        char name[512];
        snprintf(name, sizeof name, "%s%s", entry->d_name, entry->d_type == DT_DIR ? "/" : entry->d_type == DT_LNK ? "@" : "");
        names[count++] = strdup(name);
    }
    closedir(dir);
    qsort(names, count, sizeof *names, compare);
    printf("list:");
    for (int i = 0; i < count; i++) printf(" %s", names[i]);
    printf("\n");
}

static void result(const char *what, int result) {
    printf("%s: %s\n", what, result == 0 ? "ok" : strerror(errno));
}

// Opens more and more, or fills a file, until it may not.
static void exhaust(const char *path) {
    int count = 0;
    while (open(path, O_RDONLY) >= 0) count++;
    printf("open: %d, %s\n", count, strerror(errno));
}

static void fill(const char *path) {
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    long size = 0;
    ssize_t written;
    while ((written = write(fd, block, sizeof block)) > 0) size += written;
    printf("fill: %ld, %s\n", size >> 20, strerror(errno));
    close(fd);
}

int main(void) {
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *act = strtok(line, " "), *a = strtok(NULL, " "), *b = strtok(NULL, "");
        if (!act) continue;
        if (!strcmp(act, "write") || !strcmp(act, "append")) {
            FILE *file = fopen(a, act[0] == 'w' ? "w" : "a");
            if (!file) {
                printf("%s: %s\n", act, strerror(errno));
                continue;
            }
            fputs(b, file);
            result(act, fclose(file));
        } else if (!strcmp(act, "read")) {
            FILE *file = fopen(a, "r");
            char text[4096] = "";
            size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
            if (file && !ferror(file)) printf("read: %.*s\n", (int)size, text);
            else printf("read: %s\n", strerror(errno));
            if (file) fclose(file);
        } else if (!strcmp(act, "patch")) {
            // Over the second byte, from the end, and what lies behind.
            FILE *file = fopen(a, "r+");
            if (!file) {
                printf("patch: %s\n", strerror(errno));
                continue;
            }
            char last = 0;
            fseek(file, 1, SEEK_SET);
            fputs(b, file);
            fseek(file, -1, SEEK_END);
            fread(&last, 1, 1, file);
            long end = ftell(file);
            rewind(file);
            int first = fgetc(file);
            printf("patch: %c %c %ld\n", first, last, end);
            fclose(file);
        } else if (!strcmp(act, "size")) {
            int fd = open(a, O_RDWR);
            int done = ftruncate(fd, atol(b));
            struct stat stat;
            if (done == 0 && fstat(fd, &stat) == 0) printf("size: %ld\n", (long)stat.st_size);
            else printf("size: %s\n", strerror(errno));
            close(fd);
        } else if (!strcmp(act, "stat")) {
            struct stat stat;
            if (lstat(a, &stat)) printf("stat: %s\n", strerror(errno));
            else printf("stat: %s %ld %d\n", S_ISDIR(stat.st_mode) ? "folder" : S_ISLNK(stat.st_mode) ? "link" : "file",
                        (long)stat.st_size, stat.st_mtime > 1700000000);
        } else if (!strcmp(act, "own")) {
            int fd = open(a, O_CREAT | O_EXCL | O_WRONLY, 0644);
            result("own", fd < 0 ? fd : close(fd));
        } else if (!strcmp(act, "touch")) {
            struct timespec times[2] = {{1, 0}, {2, 0}};
            struct stat stat;
            if (utimensat(AT_FDCWD, a, times, 0) || lstat(a, &stat)) printf("touch: %s\n", strerror(errno));
            else printf("touch: %ld %ld\n", (long)stat.st_atime, (long)stat.st_mtime);
        } else if (!strcmp(act, "link")) {
            char target[256] = "";
            if (symlink(b, a) || readlink(a, target, sizeof target - 1) < 0) printf("link: %s\n", strerror(errno));
            else printf("link: %s\n", target);
        } else if (!strcmp(act, "mkdir")) result(act, mkdir(a, 0755));
        else if (!strcmp(act, "rmdir")) result(act, rmdir(a));
        else if (!strcmp(act, "unlink")) result(act, unlink(a));
        else if (!strcmp(act, "rename")) result(act, rename(a, b));
        else if (!strcmp(act, "list")) list(a);
        else if (!strcmp(act, "exhaust")) exhaust(a);
        else if (!strcmp(act, "fill")) fill(a);
        else if (!strcmp(act, "many")) {
            int count = 0;
            char name[256];
            for (;; count++) {
                snprintf(name, sizeof name, "%s/%d", a, count);
                int fd = open(name, O_CREAT | O_WRONLY, 0644);
                if (fd < 0) break;
                close(fd);
            }
            printf("many: %d, %s\n", count, strerror(errno));
        }
    }
    return 0;
}

// A command that does what its payload says, one word or two.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char in[4 << 20];

int main(int count, char **arguments) {
    size_t size = fread(in, 1, sizeof in - 1, stdin);
    const char *payload = getenv("PAYLOAD");
    if (!strcmp(in, "env")) {
        printf("%s|%s|%s|%s", getenv("SUBJECT"), payload, getenv("METHOD"), getenv("URL"));
    } else if (!strcmp(in, "document")) {
        printf("{\"http_code\":201,\"http_headers\":{\"X-A\":\"b\"},\"is_html\":true,\"payload\":\"PGI+\"}");
    } else if (!strncmp(in, "exit ", 5)) {
        printf("so far");
        fprintf(stderr, "cannot\n");
        return atoi(in + 5);
    } else if (!strncmp(in, "big ", 4)) {
        for (long left = atol(in + 4); left > 0; left--) putchar('x');
    } else if (!strcmp(in, "note")) {
        fprintf(stderr, "one\ntwo\n");
        printf("ok");
    } else if (!strcmp(in, "times")) {
        unsigned char a[16], b[16];
        struct timespec before, after, nap = {0, 20000000};
        clock_gettime(CLOCK_MONOTONIC, &before);
        nanosleep(&nap, NULL);
        clock_gettime(CLOCK_MONOTONIC, &after);
        long took = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
        int random = !getentropy(a, 16) && !getentropy(b, 16) && memcmp(a, b, 16);
        printf("%d %d %d", time(NULL) > 1700000000, took >= 20, random);
    } else if (!strcmp(in, "files")) {
        FILE *file = fopen("/etc/passwd", "r");
        FILE *made = fopen("x", "w");
        printf("%d %d %d %d", !!file, !!made, !!opendir("/"), count);
    } else if (!strcmp(in, "sleep")) {
        sleep(3600);
    } else if (!strcmp(in, "eat")) {
        for (;;) {
            char *volatile piece = malloc(1 << 20);
            if (!piece) abort();
            memset(piece, 1, 1 << 20);
        }
    } else {
        fwrite(in, 1, size, stdout);
        printf("|%s", payload ? "payload" : "none");
    }
    return 0;
}

// Counts words: a WASI command. The payload comes on standard input (and, when small, in the environment
// variable PAYLOAD); what is printed is the answer; an exit status other than 0 is a failure.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    long lines = 0, words = 0, bytes = 0;
    int c, in_word = 0;
    while ((c = getchar()) != EOF) {
        bytes++;
        lines += c == '\n';
        if (isspace(c)) {
            in_word = 0;
        } else if (!in_word) {
            in_word = 1;
            words++;
        }
    }
    if (bytes == 0) {
        fprintf(stderr, "send me some text\n");
        return 2;
    }
    fprintf(stderr, "counted for %s\n", getenv("SUBJECT")); // goes to the log
    printf("%ld lines, %ld words, %ld bytes\n", lines, words, bytes);
    return 0;
}

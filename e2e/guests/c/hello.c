/* Greets its first argument, counts the variables it sees, and ends with 7. */
#include <stdio.h>

extern char **environ;

int main(int argc, char **argv) {
    int variables = 0;
    for (char **at = environ; at && *at; at++) variables++;
    printf("Hello from C, %s! (%d variables)\n", argc > 1 ? argv[1] : "World", variables);
    fprintf(stderr, "goodbye\n");
    return 7;
}

// Says as whom it runs. With a set-user-id bit that is its owner, unless the container may gain no privileges: what
// critest's image `nonewprivs` has for its NoNewPrivs cases (kubernetes, test/images/nonewprivs).
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("Effective uid: %d\n", geteuid());
    return 0;
}

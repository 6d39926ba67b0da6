/* Prints the sum of the numbers on standard input, one a line. */
#include <stdio.h>

int main(void) {
    long long number, sum = 0;
    while (scanf("%lld", &number) == 1)
        sum += number;
    return feof(stdin) ? printf("%lld\n", sum) < 0 : 1;
}

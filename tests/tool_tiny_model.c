/* Writes the tiny Llama of tiny_model.h, for the command-line tests:
 *
 *   build/tests/tool_tiny_model FOLDER */
#include <stdio.h>
#include "tests/tiny_model.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: tool_tiny_model FOLDER\n", stderr);
        return 2;
    }
    tiny_model_write(argv[1]);
    return 0;
}

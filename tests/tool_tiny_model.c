/* Writes the tiny Llama of tiny_model.h, for the command-line tests:
 *
 *   build/tests/tool_tiny_model FOLDER [SHARDS] */
#include <stdio.h>
#include <stdlib.h>
#include "tests/tiny_model.h"

int main(int argc, char **argv)
{
    int shards = argc == 3 ? atoi(argv[2]) : 0;
    if (argc < 2 || argc > 3 || (argc == 3 && (shards < 1 || shards > 9))) {
        fputs("usage: tool_tiny_model FOLDER [SHARDS]\n", stderr);
        return 2;
    }
    tiny_model_write(argv[1], shards);
    return 0;
}

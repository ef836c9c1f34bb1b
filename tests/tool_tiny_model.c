/* Writes the tiny Llama of model_writer.h, for the command-line tests:
 *
 *   build/tests/tool_tiny_model FOLDER [SHARDS] */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "tests/model_writer.h"

int main(int argc, char **argv)
{
    int shards = argc == 3 ? atoi(argv[2]) : 0;
    if (argc < 2 || argc > 3 || (argc == 3 && (shards < 1 || shards > 9))) {
        fputs("usage: tool_tiny_model FOLDER [SHARDS]\n", stderr);
        return 2;
    }
    mkdir(argv[1], 0777);
    if (shards == 0)
        write_random_model(argv[1], &tiny_shape);
    else
        write_random_shards(argv[1], &tiny_shape, shards);
    return 0;
}

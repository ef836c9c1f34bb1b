/* Writes the tiny Llama of model_writer.h, for the command-line tests:
 *
 *   build/tests/tool_tiny_model FOLDER */
#include <stdio.h>
#include <sys/stat.h>
#include "tests/model_writer.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: tool_tiny_model FOLDER\n", stderr);
        return 2;
    }
    mkdir(argv[1], 0777);
    write_random_model(argv[1], &tiny_shape);
    return 0;
}

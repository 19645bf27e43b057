/* Runs a fuzz target over every file of the folders named: a corpus as an ordinary test. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

enum { FILE_MAX = 1024 * 1024 };

static int run_file(const char *path)
{
    FILE *in = fopen(path, "rb");
    uint8_t *room = malloc(FILE_MAX);
    if (!in || !room) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    const size_t n = fread(room, 1, FILE_MAX, in);
    (void)fclose(in);
    /* Of the exact size, so that the sanitizer sees a read past the end. */
    uint8_t *data = malloc(n ? n : 1);
    if (!data)
        exit(EXIT_FAILURE);
    memcpy(data, room, n);
    free(room);
    (void)printf("%s\n", path);
    (void)fflush(stdout); /* says which file it was when the next line dies */
    (void)LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 1;
}

static int run_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    int files = 0;
    if (!dir) {
        perror(folder);
        exit(EXIT_FAILURE);
    }
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char path[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        files += run_file(path);
    }
    (void)closedir(dir);
    return files;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++)
        files += run_folder(argv[i]);
    (void)printf("%d inputs\n", files);
    return files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

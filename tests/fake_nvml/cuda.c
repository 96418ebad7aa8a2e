/* A stand-in for NVIDIA's libcuda.so.1: the functions that licensing/cuda_devices.py calls, answered from a text file.
 *
 * The environment variable FAKE_CUDA names the file, which is read when CUDA is initialised. One statement per line, its
 * fields separated by tabs:
 *
 *     gpu     UUID            a GPU, in CUDA's own order
 *     mig     UUID            a MIG instance of the GPU above
 *     count   NUMBER          what cuDeviceGetCount says instead of the truth
 *     error   SYMBOL  CODE    this function fails with this code
 *
 * CUDA_VISIBLE_DEVICES is obeyed as "CUDA Environment Variables" of NVIDIA's programming guide describes it: indices,
 * UUIDs, beginnings of UUIDs and MIG instances choose and order the devices, up to the first name that is none. Without
 * it, the first instance stands for a GPU that is divided. A line that is none of these ends the process.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The codes of cuda.h. */
enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };
enum { TEXT_BYTES = 256, DEVICES = 64, FAILURES = 16, UUID_BYTES = 16 };
enum { FIRST_HANDLE = 1000 }; /* A handle is no index: whoever takes it for one finds out. */

typedef struct {
    char uuid[TEXT_BYTES];
    int is_instance, is_divided;
} device;

static device devices[DEVICES];
static const device *visible[DEVICES];
static char failing[FAILURES][TEXT_BYTES];
static int codes[FAILURES];
static int device_count, visible_count, failure_count, is_initialized;
static int said_count; /* -1 without a count line. */

static void refuse(const char *what)
{
    fprintf(stderr, "fake CUDA: %s\n", what);
    abort();
}

static void understand(char *line)
{
    char *word = strsep(&line, "\t"), *first = strsep(&line, "\t"), *second = strsep(&line, "\t");
    if (!first || strlen(first) >= TEXT_BYTES || device_count == DEVICES || failure_count == FAILURES)
        refuse("a line has no field, a field is too long, or there are too many lines");
    if (!strcmp(word, "gpu") || (!strcmp(word, "mig") && device_count)) {
        device *new = &devices[device_count++];
        memset(new, 0, sizeof *new);
        strcpy(new->uuid, first);
        new->is_instance = !strcmp(word, "mig");
        for (device *each = new; new->is_instance && each-- > devices;)
            if (!each->is_instance) {
                each->is_divided = 1;
                break;
            }
    } else if (!strcmp(word, "count"))
        said_count = atoi(first);
    else if (!strcmp(word, "error") && second) {
        strcpy(failing[failure_count], first);
        codes[failure_count++] = atoi(second);
    } else
        refuse("the first word of a line is unknown");
}

static void read_description(void)
{
    char line[2 * TEXT_BYTES];
    const char *path = getenv("FAKE_CUDA");
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (!file)
        refuse("FAKE_CUDA names no readable file");
    device_count = visible_count = failure_count = 0;
    said_count = -1;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        understand(line);
    }
    fclose(file);
}

/* Returns the device of the number that CUDA gives to it before any is hidden: instances are no devices of their own. */
static const device *numbered(int number)
{
    for (int i = 0; i < device_count; i++)
        if (!devices[i].is_instance && number-- == 0)
            return devices[i].is_divided ? &devices[i + 1] : &devices[i];
    return NULL;
}

static const device *named(const char *name)
{
    const device *found = NULL;
    char *end;
    long number = strtol(name, &end, 10);
    if (*name && !*end)
        return number < 0 ? NULL : numbered((int)number);
    for (int i = 0; i < device_count; i++)
        if (strlen(name) > 4 && !strncmp(devices[i].uuid, name, strlen(name))) {
            if (found)
                return NULL; /* The beginning of two. */
            found = devices[i].is_divided ? &devices[i + 1] : &devices[i];
        }
    return found;
}

static void choose_visible(void)
{
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    const device *next;
    if (!wanted) {
        while (visible_count < DEVICES && (next = numbered(visible_count)))
            visible[visible_count++] = next;
        return;
    }
    char *copy = strdup(wanted), *rest = copy, *name;
    while ((name = strsep(&rest, ",")) && visible_count < DEVICES && (next = named(name)))
        visible[visible_count++] = next;
    free(copy);
}

static int failure(const char *symbol)
{
    for (int i = 0; i < failure_count; i++)
        if (!strcmp(failing[i], symbol))
            return codes[i];
    return is_initialized ? SUCCESS : NOT_INITIALIZED;
}

#define RETURN_IF_REFUSED()            \
    do {                               \
        int code = failure(__func__);  \
        if (code != SUCCESS)           \
            return code;               \
    } while (0)

static const device *handle_device(int handle)
{
    int number = handle - FIRST_HANDLE;
    return number < 0 || number >= visible_count ? NULL : visible[number];
}

static int write_uuid(const device *device, unsigned char *octets)
{
    const char *digits = device ? strchr(device->uuid, '-') : NULL;
    if (!device)
        return INVALID_DEVICE;
    for (int i = 0; i < UUID_BYTES; i++, digits += 2) {
        while (digits && *digits == '-')
            digits++;
        if (!digits || sscanf(digits, "%2hhx", &octets[i]) != 1)
            refuse("a UUID has no 16 bytes");
    }
    return SUCCESS;
}

/* The functions of cuda.h. */

int cuInit(unsigned flags)
{
    (void)flags;
    if (!is_initialized) { /* Once in a process, as CUDA does it. */
        read_description();
        choose_visible();
    }
    is_initialized = 1;
    RETURN_IF_REFUSED();
    return visible_count ? SUCCESS : NO_DEVICE;
}

int cuDeviceGetCount(int *count)
{
    RETURN_IF_REFUSED();
    *count = said_count < 0 ? visible_count : said_count;
    return SUCCESS;
}

int cuDeviceGet(int *handle, int number)
{
    RETURN_IF_REFUSED();
    if (number < 0 || number >= visible_count)
        return INVALID_DEVICE;
    *handle = number + FIRST_HANDLE;
    return SUCCESS;
}

int cuDeviceGetUuid_v2(unsigned char *octets, int handle)
{
    RETURN_IF_REFUSED();
    return write_uuid(handle_device(handle), octets);
}

/* The same of drivers before R470, which say the GPU's UUID for a MIG instance. */
int cuDeviceGetUuid(unsigned char *octets, int handle)
{
    RETURN_IF_REFUSED();
    const device *asked = handle_device(handle);
    while (asked && asked->is_instance)
        asked--;
    return write_uuid(asked, octets);
}

int cuGetErrorName(int code, const char **name)
{
    *name = code == NOT_INITIALIZED ? "CUDA_ERROR_NOT_INITIALIZED" : code == 999 ? "CUDA_ERROR_UNKNOWN" : NULL;
    return *name ? SUCCESS : INVALID_VALUE;
}

/* A stand-in for NVIDIA's libnvidia-ml.so.1: the functions that pynvml calls for us, answered from a text file.
 *
 * The environment variable FAKE_NVML names the file. It is read when NVML is initialised, as a driver looks at its
 * devices, so that two sessions of one process can see different hardware. One statement per line, its fields
 * separated by tabs:
 *
 *     driver  VERSION                 what nvmlSystemGetDriverVersion says
 *     count   NUMBER                  what nvmlDeviceGetCount_v2 says instead of the number of gpu lines
 *     error   SYMBOL  CODE            this function fails with this code, whatever it is called for
 *     gpu     UUID    NAME            a GPU; the lines below are about the GPU above them
 *     serial  TEXT                    its serial number; without it, "not supported"
 *     pci     BUS-ID                  such as 00000000:17:00.0
 *     mode    off | on                its MIG mode; without it, "not supported"
 *     virtual NUMBER                  its virtualization mode, such as 2 for a vGPU; without it, "not supported"
 *     places  NUMBER                  what nvmlDeviceGetMaxMigDeviceCount says; 7 by default
 *     mig     PLACE   UUID    NAME    a MIG instance of that GPU; places without one answer "not found"
 *     fails   SYMBOL  CODE            this function fails for the GPU or MIG instance above; "*" is every function
 *
 * A line that is none of these ends the process: a mistake in a test must not look like an answer of the driver.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The codes and sizes of nvml.h. */
enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { TEXT_BYTES = 256, DEVICES = 64, FAILURES = 64, FIELDS = 4 };

typedef struct device {
    struct device *parent; /* NULL for a GPU. */
    unsigned place;        /* The GPU's index, or the MIG instance's place in its GPU. */
    char uuid[TEXT_BYTES], name[TEXT_BYTES], serial[TEXT_BYTES], pci[TEXT_BYTES];
    int mig_mode;       /* -1 where MIG is not supported. */
    int virtualization; /* -1 where it is not supported. */
    unsigned mig_places;
} device;

typedef struct {
    const device *device; /* NULL for a failure of the function as such. */
    char symbol[TEXT_BYTES];
    int code;
} failure;

/* nvmlPciInfo_t. */
typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_info;

static unsigned sessions, device_count, failure_count, gpu_count;
static long long said_count; /* -1 without a count line. */
static char driver[TEXT_BYTES];
static device devices[DEVICES];
static failure failures[FAILURES];

/* The description. */

static void refuse(const char *what)
{
    fprintf(stderr, "fake NVML: %s\n", what);
    abort();
}

static char *field(char **fields, int number)
{
    if (!fields[number] || strlen(fields[number]) >= TEXT_BYTES)
        refuse("a field is missing or too long");
    return fields[number];
}

static unsigned number(char **fields, int position)
{
    char *end, *text = field(fields, position);
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value > 0xffffffffUL)
        refuse("a field is not a number of 32 bits");
    return (unsigned)value;
}

static void add_failure(const device *device, char **fields)
{
    if (failure_count == FAILURES)
        refuse("too many failures");
    failure *new = &failures[failure_count++];
    new->device = device;
    strcpy(new->symbol, field(fields, 1));
    new->code = (int)number(fields, 2);
}

static device *add_device(device *parent, unsigned place, const char *uuid, const char *name)
{
    if (device_count == DEVICES)
        refuse("too many devices");
    device *new = &devices[device_count++];
    memset(new, 0, sizeof *new);
    new->parent = parent;
    new->place = place;
    strcpy(new->uuid, uuid);
    strcpy(new->name, name);
    new->mig_mode = new->virtualization = -1;
    new->mig_places = 7;
    return new;
}

static void understand(char **fields, device **gpu, device **last)
{
    const char *word = fields[0];
    if (!strcmp(word, "driver"))
        strcpy(driver, field(fields, 1));
    else if (!strcmp(word, "count"))
        said_count = number(fields, 1);
    else if (!strcmp(word, "error"))
        add_failure(NULL, fields);
    else if (!strcmp(word, "gpu"))
        *gpu = *last = add_device(NULL, gpu_count++, field(fields, 1), field(fields, 2));
    else if (!*gpu)
        refuse("a line about a GPU comes before the first gpu line, or its first word is unknown");
    else if (!strcmp(word, "serial"))
        strcpy((*gpu)->serial, field(fields, 1));
    else if (!strcmp(word, "pci"))
        strcpy((*gpu)->pci, field(fields, 1));
    else if (!strcmp(word, "mode"))
        (*gpu)->mig_mode = !strcmp(field(fields, 1), "on");
    else if (!strcmp(word, "virtual"))
        (*gpu)->virtualization = (int)number(fields, 1);
    else if (!strcmp(word, "places"))
        (*gpu)->mig_places = number(fields, 1);
    else if (!strcmp(word, "mig"))
        *last = add_device(*gpu, number(fields, 1), field(fields, 2), field(fields, 3));
    else if (!strcmp(word, "fails"))
        add_failure(*last, fields);
    else
        refuse("the first word of a line is unknown");
}

static void read_description(void)
{
    char line[4 * TEXT_BYTES];
    device *gpu = NULL, *last = NULL;
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (!file)
        refuse("FAKE_NVML names no readable file");
    device_count = failure_count = gpu_count = 0;
    said_count = -1;
    driver[0] = 0;
    while (fgets(line, sizeof line, file)) {
        char *rest = line, *fields[FIELDS] = {NULL};
        line[strcspn(line, "\n")] = 0;
        for (int position = 0; position < FIELDS; position++)
            fields[position] = strsep(&rest, "\t");
        understand(fields, &gpu, &last);
    }
    fclose(file);
}

/* What every function begins and ends with. */

static int refusal(const char *symbol, const device *device)
{
    if (!sessions)
        return UNINITIALIZED;
    for (unsigned i = 0; i < failure_count; i++) {
        const failure *each = &failures[i];
        int concerns = !each->device || (each->device == device && device);
        if (concerns && (!strcmp(each->symbol, "*") || !strcmp(each->symbol, symbol)))
            return each->code;
    }
    return SUCCESS;
}

#define RETURN_IF_REFUSED(device)              \
    do {                                       \
        int code = refusal(__func__, device);  \
        if (code != SUCCESS)                   \
            return code;                       \
    } while (0)

static int copy(const char *text, char *out, unsigned out_bytes)
{
    if (strlen(text) >= out_bytes)
        return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

static device *find(const device *parent, unsigned place)
{
    for (unsigned i = 0; i < device_count; i++)
        if (devices[i].parent == parent && devices[i].place == place)
            return &devices[i];
    return NULL;
}

/* The functions of nvml.h. */

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    if (!sessions)
        read_description();
    sessions++;
    int code = refusal(__func__, NULL);
    if (code != SUCCESS)
        sessions--;
    return code;
}

int nvmlShutdown(void)
{
    RETURN_IF_REFUSED(NULL);
    sessions--;
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    static char text[TEXT_BYTES];
    snprintf(text, sizeof text, "error %d of the fake NVML", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *version, unsigned version_bytes)
{
    RETURN_IF_REFUSED(NULL);
    return copy(driver, version, version_bytes);
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    RETURN_IF_REFUSED(NULL);
    *count = said_count < 0 ? gpu_count : (unsigned)said_count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **handle)
{
    device *gpu = find(NULL, index);
    RETURN_IF_REFUSED(gpu);
    *handle = gpu;
    return gpu ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetUUID(const device *handle, char *uuid, unsigned uuid_bytes)
{
    RETURN_IF_REFUSED(handle);
    return copy(handle->uuid, uuid, uuid_bytes);
}

int nvmlDeviceGetName(const device *handle, char *name, unsigned name_bytes)
{
    RETURN_IF_REFUSED(handle);
    return copy(handle->name, name, name_bytes);
}

int nvmlDeviceGetSerial(const device *handle, char *serial, unsigned serial_bytes)
{
    RETURN_IF_REFUSED(handle);
    return handle->serial[0] ? copy(handle->serial, serial, serial_bytes) : NOT_SUPPORTED;
}

int nvmlDeviceGetPciInfo_v3(const device *handle, pci_info *pci)
{
    RETURN_IF_REFUSED(handle);
    memset(pci, 0, sizeof *pci);
    if (sscanf(handle->pci, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device) != 3)
        return NOT_SUPPORTED;
    snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "%04X:%02X:%02X.0", pci->domain & 0xffff,
             pci->bus & 0xff, pci->device & 0xff);
    return copy(handle->pci, pci->bus_id, sizeof pci->bus_id);
}

int nvmlDeviceGetMigMode(const device *handle, unsigned *current, unsigned *pending)
{
    RETURN_IF_REFUSED(handle);
    if (handle->mig_mode < 0)
        return NOT_SUPPORTED;
    *current = *pending = (unsigned)handle->mig_mode;
    return SUCCESS;
}

int nvmlDeviceGetVirtualizationMode(const device *handle, unsigned *mode)
{
    RETURN_IF_REFUSED(handle);
    if (handle->virtualization < 0)
        return NOT_SUPPORTED;
    *mode = (unsigned)handle->virtualization;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(const device *handle, unsigned *count)
{
    RETURN_IF_REFUSED(handle);
    *count = handle->mig_places;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(const device *handle, unsigned place, device **instance)
{
    device *found = find(handle, place);
    RETURN_IF_REFUSED(found);
    *instance = found;
    return found ? SUCCESS : NOT_FOUND;
}

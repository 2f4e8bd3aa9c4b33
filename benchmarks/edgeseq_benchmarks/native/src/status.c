#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[512] = "no error";

int status_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return STATUS_FAILED;
}

const char *status_message(void)
{
    return message;
}

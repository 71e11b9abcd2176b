// Header-only C for what Swift cannot say portably: the CRC32C instructions.
#pragma once

#include "crc32c.h"

/* SPDX-License-Identifier: MIT */
/* fstest's tools, which make and check data. */
#pragma once

/* tool_main() - an exit status, or -1 when the arguments ask for none of the tools. */
int tool_main(int argc, char **argv);

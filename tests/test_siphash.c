/* SipHash-2-4 with 128 bits. */
#include "tests/support.h"

#include <stdio.h>
#include "loaders/siphash.h"

/* Vectors by `openssl mac -macopt hexkey:000102...0f -macopt size:16 SIPHASH` (OpenSSL 3.0) over
 * the bytes 0, 1, 2, ... */
START_TEST(siphash_matches_openssl)
{
    static const struct {
        size_t n;
        const char *hex;
    } vectors[] = {
        {0, "A3817F04BA25A8E66DF67214C7550293"},  {1, "DA87C1D86B99AF44347659119B22FC45"},
        {7, "A1F1EBBED8DBC153C0B84AA61FF08239"},  {8, "3B62A9BA6258F5610F83E264F31497B4"},
        {15, "5493E99933B0A8117E08EC0F97CFC3D9"}, {16, "6EE2A4CA67B054BBFD3315BF85230577"},
        {63, "5150D1772F50834A503E069A973FBD7C"},
    };
    unsigned char bytes[64], out[16];
    for (int i = 0; i < 64; i++)
        bytes[i] = (unsigned char)i;
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++) {
        for (size_t cut = 0; cut <= vectors[v].n; cut++) {
            struct siphash hash;
            char hex[33];
            siphash_start(&hash, bytes);
            siphash_add(&hash, bytes, cut);
            siphash_add(&hash, bytes + cut, vectors[v].n - cut);
            siphash_finish(&hash, out);
            for (int i = 0; i < 16; i++)
                sprintf(hex + 2 * i, "%02X", out[i]);
            ck_assert_str_eq(hex, vectors[v].hex);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("siphash");
    TCase *tests = tcase_create("siphash");
    tcase_add_test(tests, siphash_matches_openssl);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/* A device in C: posts a metric a moment, with libcurl.
 *
 *     cc -O2 -Wall -o post post.c -lcurl
 *     ./post http://localhost:8080 [DEVICE [COUNT]]
 *
 * One handle is one connection, kept open from metric to metric. The time is sent as seconds with
 * nine decimals, as clock_gettime has it.
 */

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TRIES 5

/* What the server says is short: two hundred bytes, or some more where it refuses. */
struct said {
    char text[4096];
    size_t length;
};

static size_t keep(char *bytes, size_t size, size_t count, void *into) {
    struct said *said = into;
    size_t room = sizeof said->text - 1 - said->length;
    size_t kept = size * count < room ? size * count : room;
    memcpy(said->text + said->length, bytes, kept);
    said->length += kept;
    said->text[said->length] = '\0';
    return size * count;
}

/* Posts one metric; 0 if it was taken. Where the server asks for it (429, 503), or cannot be
 * reached, it tries again. */
static int post(CURL *curl, const char *device, int number) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char body[512];
    int length = snprintf(body, sizeof body,
                          "{\"device_id\":\"%s\",\"timestamp\":%lld.%09ld,\"cpu\":%.2f,\"rps\":%d}",
                          device, (long long)now.tv_sec, now.tv_nsec, 40.0 + number,
                          1000 + 10 * number);
    if (length < 0 || (size_t)length >= sizeof body) {
        fprintf(stderr, "the device's name is too long\n");
        return 1;
    }
    struct said said;
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)length);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &said);
    CURLcode done = CURLE_OK;
    long status = 0;
    for (int attempt = 0; attempt < TRIES; attempt++) {
        if (attempt > 0) {
            sleep(1);
        }
        said.length = 0;
        said.text[0] = '\0';
        done = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (done != CURLE_COULDNT_CONNECT && status != 429 && status != 503) {
            break;
        }
    }
    if (done != CURLE_OK) {
        fprintf(stderr, "%s\n", curl_easy_strerror(done));
        return 1;
    }
    if (status != 202) {
        fprintf(stderr, "%ld %s\n", status, said.text);
        return 1;
    }
    printf("%s", said.text);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s URL [DEVICE [COUNT]]\n", argv[0]);
        return 64;
    }
    const char *device = argc > 2 ? argv[2] : "c-1";
    int count = argc > 3 ? atoi(argv[3]) : 10;
    char url[1024];
    int bytes = (int)strlen(argv[1]);
    if (bytes > 0 && argv[1][bytes - 1] == '/') {
        bytes--;
    }
    snprintf(url, sizeof url, "%.*s/metrics", bytes, argv[1]);

    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    const char *token = getenv("COREPULSE_INGEST_TOKEN");
    if (token != NULL && *token != '\0') {
        char bearer[1024];
        snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", token);
        headers = curl_slist_append(headers, bearer);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);

    int failed = 0;
    for (int number = 0; number < count && !failed; number++) {
        failed = post(curl, device, number);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    curl_global_cleanup();
    return failed;
}

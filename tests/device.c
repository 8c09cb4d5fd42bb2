/* A network device with a clock of its own, as programs see it: it says that it has one, and what the kernel gives of
 * a packet has the device's stamp too. Loaded before libc (ld.so(8), LD_PRELOAD) into the program under test, and
 * asked only for what that has asked for by SO_TIMESTAMPING (Documentation/networking/timestamping.rst).
 *
 * Its clock began an hour before its first packet. A probe leaves by it on the whole second of its number, and the
 * answer comes 1,234,567 ns later. Of number 3 nothing is told of the departure; the answer to number 4 comes by
 * another device, whose clock is an hour further. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
/* struct timespec first. */
#include <linux/errqueue.h>
#include <linux/ethtool.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SOCKETS = 64, HOUR = 3600 };

static int flags[SOCKETS];
/* The stamp of the device that comes after the kernel's, of each socket: what was told of that. */
static int has_second[SOCKETS];
static unsigned second[SOCKETS];
static char template[SOCKETS][512];
static size_t template_len[SOCKETS];

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    if (level == SOL_SOCKET && name == SO_TIMESTAMPING)
        flags[fd] = *(const int *)value;
    return real(fd, level, name, value, len);
}

/* The interface of that name (SIM_DEVICE) has such a device, and it is switched on unless it says so (SIM_OFF). */
int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, void *) = dlsym(RTLD_NEXT, "ioctl");
    va_list rest;
    va_start(rest, request);
    struct ifreq *about = va_arg(rest, struct ifreq *);
    va_end(rest);
    const char *name = getenv("SIM_DEVICE");
    if (!name || (request != SIOCETHTOOL && request != SIOCGHWTSTAMP) || strcmp(about->ifr_name, name))
        return real(fd, request, about);
    struct ethtool_ts_info *can = (void *)about->ifr_data;
    struct hwtstamp_config *does = (void *)about->ifr_data;
    if (request == SIOCGHWTSTAMP)
        *does = (struct hwtstamp_config){0, !getenv("SIM_OFF"), getenv("SIM_OFF") ? 0 : HWTSTAMP_FILTER_ALL};
    else if (can->cmd == ETHTOOL_GET_TS_INFO)
        can->so_timestamping =
            SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
    return 0;
}

static struct cmsghdr *find(struct msghdr *msg, int level, int type)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
        if (c->cmsg_level == level && c->cmsg_type == type)
            return c;
    return NULL;
}

static struct sock_extended_err *extended(struct msghdr *msg)
{
    struct cmsghdr *c = find(msg, SOL_IP, IP_RECVERR);
    if (!c)
        c = find(msg, SOL_IPV6, IPV6_RECVERR);
    return c ? (struct sock_extended_err *)CMSG_DATA(c) : NULL;
}

static struct timespec *stamps(struct msghdr *msg)
{
    struct cmsghdr *c = find(msg, SOL_SOCKET, SCM_TIMESTAMPING);
    return c ? (struct timespec *)CMSG_DATA(c) : NULL;
}

ssize_t recvmsg(int fd, struct msghdr *msg, int how)
{
    const int both = SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
    ssize_t (*real)(int, struct msghdr *, int) = dlsym(RTLD_NEXT, "recvmsg");
    if (!(how & MSG_ERRQUEUE) || (flags[fd] & both) != both)
        return real(fd, msg, how);
    if (has_second[fd]) {
        has_second[fd] = 0;
        memcpy(msg->msg_control, template[fd], template_len[fd]);
        msg->msg_controllen = template_len[fd];
        msg->msg_namelen = 0;
        stamps(msg)[0] = (struct timespec){0, 0};
        stamps(msg)[2] = (struct timespec){HOUR + second[fd], 0};
        return 0;
    }
    ssize_t got = real(fd, msg, how);
    struct sock_extended_err *err = got >= 0 ? extended(msg) : NULL;
    if (!err || err->ee_origin != SO_EE_ORIGIN_TIMESTAMPING || !stamps(msg) || err->ee_data == 3)
        return got;
    second[fd] = err->ee_data;
    template_len[fd] = msg->msg_controllen;
    memcpy(template[fd], msg->msg_control, msg->msg_controllen);
    has_second[fd] = 1;
    if (flags[fd] & SOF_TIMESTAMPING_OPT_TX_SWHW)
        return got;
    return recvmsg(fd, msg, how);
}

int recvmmsg(int fd, struct mmsghdr *all, unsigned count, int how, struct timespec *timeout)
{
    const int both = SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
    int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *) = dlsym(RTLD_NEXT, "recvmmsg");
    int got = real(fd, all, count, how, timeout);
    for (int i = 0; i < got && (flags[fd] & both) == both; i++) {
        struct msghdr *msg = &all[i].msg_hdr;
        const unsigned char *data = msg->msg_iov->iov_base;
        /* IPv4 of a raw socket has its header before the message. */
        if (data[0] == 0x45)
            data += 20;
        unsigned number = data[6] << 8 | data[7];
        if (stamps(msg))
            stamps(msg)[2] = (struct timespec){HOUR + number + (number == 4 ? HOUR : 0), 1234567};
    }
    return got;
}

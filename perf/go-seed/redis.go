package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
)

// The connections that go-redis keeps for each core.
const poolSize = 10

// A conn is a connection to Redis, with what is to be sent and what has been received.
type conn struct {
	net.Conn
	*bufio.Reader
	*bufio.Writer
}

// Redis is a pool of connections, opened when they are first wanted: a nil one is yet to be opened.
type Redis struct {
	address string
	pool    chan *conn
}

// NewRedis makes a pool whose connections are to be opened.
func NewRedis(address string) *Redis {
	redis := &Redis{address: address, pool: make(chan *conn, poolSize)}
	for range poolSize {
		redis.pool <- nil
	}
	return redis
}

// SetAll stores values for a time: all commands are sent in one go, then all replies are read.
func (r *Redis) SetAll(keys []string, values [][]byte, seconds int) (err error) {
	c := <-r.pool
	defer func() { r.pool <- c }()
	if c == nil {
		socket, err := net.Dial("tcp", r.address)
		if err != nil {
			return err
		}
		c = &conn{socket, bufio.NewReader(socket), bufio.NewWriter(socket)}
	}
	// A connection that has failed is not asked again.
	defer func() {
		if err != nil {
			c.Conn.Close()
			c = nil
		}
	}()
	for at, key := range keys {
		c.command("SET", key, string(values[at]), "EX", strconv.Itoa(seconds))
	}
	if err := c.Flush(); err != nil {
		return err
	}
	for range keys {
		reply, err := c.ReadString('\n')
		if err != nil {
			return err
		}
		if reply != "+OK\r\n" {
			return fmt.Errorf("redis: %q", reply)
		}
	}
	return nil
}

// Writes a command: an array of strings, each with its length. An error stays until it is flushed.
func (c *conn) command(words ...string) {
	fmt.Fprintf(c.Writer, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(c.Writer, "$%d\r\n%s\r\n", len(word), word)
	}
}

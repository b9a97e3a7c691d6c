// Box is the only program of the image that tests run: it does what its
// arguments say, one after the other.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	for args := os.Args[1:]; len(args) > 0; {
		n := step(args)
		args = args[n:]
	}
}

// step does the first of args and returns how many it took.
func step(args []string) int {
	switch args[0] {
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return 1
	case "pwd":
		dir, err := os.Getwd()
		check(err)
		fmt.Println(dir)
		return 1
	case "wait": // for a signal that ends it
		<-time.After(time.Hour)
	case "deaf": // to TERM
		signal.Ignore(syscall.SIGTERM)
		return 1
	case "polite": // on TERM it says so and ends
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		go func() {
			<-term
			fmt.Println("polite")
			os.Exit(4)
		}()
		return 1
	case "print":
		fmt.Println(args[1])
	case "warn":
		fmt.Fprintln(os.Stderr, args[1])
	case "cat":
		b, err := os.ReadFile(args[1])
		check(err)
		_, err = os.Stdout.Write(b)
		check(err)
	case "await":
		for {
			if _, err := os.Stat(args[1]); err == nil {
				return 2
			}
			<-time.After(5 * time.Millisecond)
		}
	case "exit":
		code, err := strconv.Atoi(args[1])
		check(err)
		os.Exit(code)
	case "write": // FILE TEXT, at once
		path := os.ExpandEnv(args[1])
		tmp := filepath.Join(filepath.Dir(path), ".tmp")
		check(os.WriteFile(tmp, []byte(args[2]+"\n"), 0o600))
		check(os.Rename(tmp, path))
		return 3
	default:
		fmt.Fprintln(os.Stderr, "box does not know", args[0])
		os.Exit(2)
	}
	return 2
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

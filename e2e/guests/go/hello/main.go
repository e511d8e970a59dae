// Greets its first argument and prints the words of stdin, sorted.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"
)

func main() {
	name := "World"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	fmt.Printf("Hello from Go, %s!\n", name)
	var words []string
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words = append(words, strings.Fields(in.Text())...)
	}
	sort.Strings(words)
	fmt.Println(len(words), strings.Join(words, " "))
}

// Signed notes in the hands of Go's own library: opens the note on standard input with the vkey
// given, and writes a note of the same text, signed by a new key, below that key's vkey.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/note"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	data, err := io.ReadAll(os.Stdin)
	must(err)
	verifier, err := note.NewVerifier(os.Args[1])
	must(err)
	opened, err := note.Open(data, note.VerifierList(verifier))
	must(err)
	private, public, err := note.GenerateKey(rand.Reader, "go.example/log")
	must(err)
	signer, err := note.NewSigner(private)
	must(err)
	signed, err := note.Sign(&note.Note{Text: opened.Text}, signer)
	must(err)
	fmt.Printf("%s\n%s\n%s", public, private, signed)
}

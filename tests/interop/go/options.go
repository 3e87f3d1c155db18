package main

import (
	"flag"

	car "github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multicodec"
)

// storeFlags are the library options that a command offers as flags, and the
// two that say how far a write goes.
type storeFlags struct {
	v1, identity, wholeCids, duplicates, nullPadding, noFinalize bool
	codec                                                        string
	dataPadding, indexPadding                                    uint64
	count                                                        int
}

func (s *storeFlags) register(flags *flag.FlagSet) {
	flags.BoolVar(&s.v1, "v1", false, "write a CARv1")
	flags.StringVar(&s.codec, "codec", "", "index codec")
	flags.Uint64Var(&s.dataPadding, "data-padding", 0, "bytes before the payload")
	flags.Uint64Var(&s.indexPadding, "index-padding", 0, "bytes before the index")
	flags.BoolVar(&s.identity, "identity", false, "store identity CIDs")
	flags.BoolVar(&s.wholeCids, "whole-cids", false, "a block's key is its whole CID")
	flags.BoolVar(&s.duplicates, "duplicates", false, "store duplicates")
	flags.BoolVar(&s.nullPadding, "null-padding", false, "zero-length section ends the payload")
	flags.IntVar(&s.count, "count", -1, "how many blocks at most")
	flags.BoolVar(&s.noFinalize, "no-finalize", false, "leave the file unfinalized")
}

func (s *storeFlags) options() ([]car.Option, error) {
	options := []car.Option{
		car.WriteAsCarV1(s.v1),
		car.StoreIdentityCIDs(s.identity),
		car.UseWholeCIDs(s.wholeCids),
		car.AllowDuplicatePuts(s.duplicates),
		car.ZeroLengthSectionAsEOF(s.nullPadding),
	}
	if s.dataPadding != 0 {
		options = append(options, car.UseDataPadding(s.dataPadding))
	}
	if s.indexPadding != 0 {
		options = append(options, car.UseIndexPadding(s.indexPadding))
	}
	if s.codec != "" {
		code, err := codecNamed(s.codec)
		if err != nil {
			return nil, err
		}
		options = append(options, car.UseIndexCodec(code))
	}
	return options, nil
}

func codecNamed(name string) (multicodec.Code, error) {
	var code multicodec.Code
	err := code.Set(name)
	return code, err
}

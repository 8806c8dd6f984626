"""Where the files of a model are: a folder, the Hugging Face Hub, a GGUF file, another package."""
